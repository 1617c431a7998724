"""The page where a picture is uploaded and every variant of a network answers, side by side."""
