"""Static protocol: training and test pairs without times, a backbone's vectors, and learned levels on them."""
