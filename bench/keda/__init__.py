"""KEDA and an HPA on Redis lists, on the control plane that the other measurements use."""
