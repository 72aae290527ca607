"""A procedural road, seen by the contract's cameras, and a scripted driver that knows it. Numpy only.

Frames: the world is flat, z up. Along the road a point is (s, d): metres along the road's middle, and metres left of
it. The ego frame has its origin on the ground below the middle of the car: x forward, y left, z up.
"""
