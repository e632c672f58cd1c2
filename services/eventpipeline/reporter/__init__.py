"""The reporter: answers what the stored events say, over HTTP. All counting is done in SQL."""
