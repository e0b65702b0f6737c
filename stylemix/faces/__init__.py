"""Face detection, alignment, landmarks, recognition and segmentation."""
