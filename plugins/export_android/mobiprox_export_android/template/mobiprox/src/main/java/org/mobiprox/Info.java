package org.mobiprox;

import androidx.annotation.NonNull;
import androidx.annotation.Nullable;

/** What is open, and what it really runs on. */
public final class Info {
    private final String[] texts;
    private final double[] numbers;

    Info(String[] texts, double[] numbers) {
        this.texts = texts;
        this.numbers = numbers;
    }

    /** Of the network. */
    @NonNull
    public String getName() {
        return texts[0];
    }

    @NonNull
    public String getDevice() {
        return texts[1];
    }

    @NonNull
    public String getDriver() {
        return texts[2];
    }

    /** OpenCL's version and maker. */
    @NonNull
    public String getRuntime() {
        return texts[3];
    }

    /** The OpenCL library that was found. */
    @NonNull
    public String getLibrary() {
        return texts[4];
    }

    /** cpu or gpu. */
    @NonNull
    public String getKind() {
        return texts[5];
    }

    /** The instruction set that the kernels are compiled for. */
    @NonNull
    public String getIsa() {
        return texts[6];
    }

    /** network: one launch per inference; operators: one per operator. */
    @NonNull
    public String getLaunch() {
        return texts[7];
    }

    /** The bundle's. */
    @Nullable
    public String getStrategy() {
        return texts[8];
    }

    public int getThreads() {
        return (int) numbers[0];
    }

    /** Whether CPU and GPU see the same memory; else inputs and outputs are copied. */
    public boolean isMemoryShared() {
        return numbers[1] != 0;
    }

    /** Whether the kernels had been compiled at an earlier start. */
    public boolean isProgramCached() {
        return numbers[2] != 0;
    }

    public int getBatch() {
        return (int) numbers[3];
    }

    /** Of the network on the device. */
    public long getArenaBytes() {
        return (long) numbers[7];
    }

    public double getOpenMs() {
        return numbers[8];
    }
}
