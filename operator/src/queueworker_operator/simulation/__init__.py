"""Replay recorded or made-up load through the decision, with a model of pods, and compare what comes of it."""
