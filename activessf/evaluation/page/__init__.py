"""The HTML pages of a report: tables that sort, confusion matrices that open, mistakes, the method in words."""
