"""The QueueWorker operator: the CRD, the decision, the reconciler and its two clusters."""
