"""The learner: all state that training depends on, and how a batch changes it."""
