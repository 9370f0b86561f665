"""Networks: every parameter leads with the member axis. To add one: a file here, or `module:Class` in a spec."""

NETS = {
    "MLP": "slmx.net.mlp:MLP",
    "ConvNet": "slmx.net.conv:ConvNet",
    "RNN": "slmx.net.recurrent:RNN",
}
