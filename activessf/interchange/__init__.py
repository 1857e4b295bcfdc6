"""Boxes of cells in the files of other programs: COCO, Pascal VOC, YOLO and QuPath's GeoJSON."""
