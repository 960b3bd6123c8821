"""The API of QueueWorker: the models, the reasons, and the generator of the CRD."""
