"""For the robot: from camera frames and poses as they come to a trajectory that can be followed."""
