"""People's work: schema, documents, Label Studio, agreement, comparison. No torch here, so annotators' tools stay light."""
