"""Methods that the served path is compared with, behind one contract."""
