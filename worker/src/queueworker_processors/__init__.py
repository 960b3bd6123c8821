"""The processors that come with QueueWorker."""
