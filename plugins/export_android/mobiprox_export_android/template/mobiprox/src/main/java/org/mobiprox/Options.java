package org.mobiprox;

import androidx.annotation.NonNull;
import androidx.annotation.Nullable;
import java.io.File;

/** How to open a bundle. As it is, it is right for most. */
public final class Options {
    String device;
    String library;
    File cacheFolder;
    int threads;
    boolean noStrategy;
    boolean copyMemory;

    /** An index or a part of the name of an OpenCL device; null: the first that fits the bundle. */
    @NonNull
    public Options device(@Nullable String device) {
        this.device = device;
        return this;
    }

    /** The OpenCL library; null: the system's. */
    @NonNull
    public Options library(@Nullable String library) {
        this.library = library;
        return this;
    }

    /** Where compiled kernels are kept between starts; null: the app's code cache, or nowhere without an app. */
    @NonNull
    public Options cacheFolder(@Nullable File folder) {
        this.cacheFolder = folder;
        return this;
    }

    /** CPU threads of one inference; 0: as the bundle says. */
    @NonNull
    public Options threads(int threads) {
        this.threads = threads;
        return this;
    }

    /** Levels are set by hand, even if the bundle names a strategy. */
    @NonNull
    public Options withoutStrategy() {
        this.noStrategy = true;
        return this;
    }

    /** Inputs and outputs are copied even where memory could be shared, for drivers that share it badly. */
    @NonNull
    public Options copyMemory() {
        this.copyMemory = true;
        return this;
    }
}
