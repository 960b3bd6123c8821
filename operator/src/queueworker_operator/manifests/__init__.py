"""From a spec to the Deployment that carries it out: pure."""
