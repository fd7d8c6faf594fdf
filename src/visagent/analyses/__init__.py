"""What a trained policy of pictures sees (dissertation Sections 5.5.3 and 5.5.4): one file for each analysis."""
