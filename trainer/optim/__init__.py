"""One gradient step: gather rows, compute losses, apply gradients."""
