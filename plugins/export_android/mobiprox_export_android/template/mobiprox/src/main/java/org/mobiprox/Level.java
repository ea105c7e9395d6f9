package org.mobiprox;

import androidx.annotation.NonNull;
import androidx.annotation.Nullable;

/** What the bundle says of a level: as measured when it was made, on the device that it was made on. */
public final class Level {
    private final int index;
    private final double qosLoss;
    private final double latencyMs;
    private final double energyMj;

    Level(int index, double qosLoss, double latencyMs, double energyMj) {
        this.index = index;
        this.qosLoss = qosLoss;
        this.latencyMs = latencyMs;
        this.energyMj = energyMj;
    }

    /** 0 is the exact network. */
    public int getIndex() {
        return index;
    }

    /** Below the exact network: percentage points of accuracy, unless the bundle was made for another measure. */
    public double getQosLoss() {
        return qosLoss;
    }

    public double getLatencyMs() {
        return latencyMs;
    }

    /** Of one inference; null where it was not measured. */
    @Nullable
    public Double getEnergyMj() {
        return Double.isNaN(energyMj) ? null : Double.valueOf(energyMj);
    }

    @NonNull
    @Override
    public String toString() {
        return "level " + index;
    }
}
