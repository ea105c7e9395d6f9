package org.mobiprox;

import androidx.annotation.NonNull;
import androidx.annotation.Nullable;

/** One inference. */
public final class Prediction {
    private final int label;
    private final String name;
    private final double confidence;
    private final int level;
    private final double latencyMs;

    Prediction(int label, @Nullable String name, double confidence, int level, double latencyMs) {
        this.label = label;
        this.name = name;
        this.confidence = confidence;
        this.level = level;
        this.latencyMs = latencyMs;
    }

    /** Index of the class. */
    public int getLabel() {
        return label;
    }

    /** Name of the class, where the bundle has names. */
    @Nullable
    public String getName() {
        return name;
    }

    /** Calibrated, 0 to 1. */
    public double getConfidence() {
        return confidence;
    }

    /** The level that gave this answer. */
    public int getLevel() {
        return level;
    }

    /** From input to output; of all runs, where a strategy had the same input run again. */
    public double getLatencyMs() {
        return latencyMs;
    }

    @NonNull
    @Override
    public String toString() {
        return (name == null ? "class " + label : name) + ", " + Math.round(100 * confidence) + " % sure, level " + level;
    }
}
