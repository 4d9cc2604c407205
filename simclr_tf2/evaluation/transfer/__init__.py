"""Transfer to other data sets (SimCLR, section 4.3 and appendix B.8)."""
