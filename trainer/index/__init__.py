"""Learned hierarchical index: levels, assignment of items to nodes, objective and learners."""
