"""How a job gets onto devices: the processes of one training, devices that are leased, the launchers of sweeps."""
