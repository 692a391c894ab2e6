"""How good a model is: bounds in nats, captions read by a judge, distances to real clips."""
