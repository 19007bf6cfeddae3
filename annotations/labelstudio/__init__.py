"""Everything about Label Studio: shapes, exports, policies, and the rounds on a server."""
