"""Stand-in until the criteria land."""
import numpy as np
from types import SimpleNamespace

def criterion(name): return SimpleNamespace(needs="nothing")

def score_units(name, model, channels, *, calibration=None, seed=0):
    total=np.zeros(channels.unit_count); n=np.zeros(channels.unit_count)
    for vname, axes in channels.axes.items():
        v=model.graph.initializers.get(vname)
        if v is None or len(v.shape)<2: continue
        w=v.const_value.numpy()
        for ax,u in enumerate(axes):
            if u is None: continue
            s=np.abs(w).sum(axis=tuple(i for i in range(w.ndim) if i!=ax)); s=s/s.mean()
            m=u>=0; np.add.at(total,u[m],s[m]); np.add.at(n,u[m],1)
    return total/np.maximum(n,1)
