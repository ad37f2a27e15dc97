"""What `pgdoctor mcp` consists of: tools, manual, and the SDK's server over stdio or HTTP. Nothing here signals."""
