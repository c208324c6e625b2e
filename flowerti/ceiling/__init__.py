"""What could be gained at all: strong classes cut down to the weak ones' count, with their unseen real images."""
