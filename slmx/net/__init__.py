"""Networks: every parameter leads with the member axis. To add one: a file here, or `module:Class` in a spec."""

NETS = {
    "MLP": "slmx.net.mlp:MLP",
    "RNN": "slmx.net.recurrent:RNN",
}
