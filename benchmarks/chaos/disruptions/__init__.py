"""The disruptions, one module per kind; each module's `variants` lists what it can strike, and how."""
