"""Names in folders with VOC layout, shared by the VOC reader and run folders."""

MASKS, IMAGES, LISTS = "SegmentationClass", "JPEGImages", "ImageSets"
CLASSES = "classes.txt"
