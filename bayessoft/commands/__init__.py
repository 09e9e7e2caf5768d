"""The commands of the command line, one a file: what a person types, put together from `bayessoft.report`."""
