"""Archive jobs: a folder or file of any number of documents to labelled shards, in processes or on a Ray cluster."""
