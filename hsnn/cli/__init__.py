"""The command line `hsnn`: one module per command or command group."""
