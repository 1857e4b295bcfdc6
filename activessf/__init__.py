"""ActiveSSF: active-learning-guided self-supervised learning for long-tailed cell classification."""

import cv2

# One OpenCV thread pool in a forked DataLoader worker deadlocks once the parent has used OpenCV;
# 0 means "run in the calling thread" and is safe on both sides of a fork.
cv2.setNumThreads(0)

__version__ = "0.1.0"
