"""The run as one page of HTML that loads nothing from elsewhere."""
