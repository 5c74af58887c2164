"""Names in folders with VOC layout, shared by the VOC reader and run folders."""

MASKS, CONFIDENCE, IMAGES, LISTS = "SegmentationClass", "Confidence", "JPEGImages", "ImageSets"
CLASSES = "classes.txt"
