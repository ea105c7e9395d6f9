package org.mobiprox;

import java.nio.ByteBuffer;

/** The runtime's C API. Texts are UTF-8; a session of 0 is a closed one. */
final class Native {
    static {
        System.loadLibrary("mobiprox_jni");
    }

    private Native() {}

    static native long open(
            byte[] folder, byte[] device, byte[] library, byte[] cacheFolder, int threads, boolean noStrategy, boolean copyMemory);

    static native void close(long session);

    /** Name, device, driver, runtime, library, kind, instruction set, launch, strategy. */
    static native byte[][] texts(long session);

    /** Threads, shared memory, cached program, batch, levels, inputs, outputs, bytes of the arena, milliseconds to open. */
    static native double[] numbers(long session);

    static native byte[][] classes(long session);

    /** Loss, milliseconds, millijoules. */
    static native double[] levelInfo(long session, int level);

    static native int[] shape(long session, boolean output, int index);

    /** prediction: null, or room for label, level, confidence, milliseconds. */
    static native void infer(long session, ByteBuffer[] inputs, ByteBuffer[] outputs, double[] prediction);

    static native void setLevel(long session, int level);

    static native int level(long session);

    /** sensors: battery, charging, temperature, deadline, hour. True where the same input is to be run again. */
    static native boolean observe(long session, double[] sensors, byte[] purpose);

    static native void setStrategy(long session, byte[] name, byte[] options);
}
