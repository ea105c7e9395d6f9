package org.mobiprox;

import android.content.Context;
import androidx.annotation.NonNull;
import androidx.annotation.Nullable;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * A network that glides between accuracy and cost. In Kotlin:
 *
 * <pre>Mobiprox.open(context, "bundle").use { println(it.infer(x)) }</pre>
 *
 * <p>The bundle's strategy chooses the level of each inference by the answers so far; without one the level stays as it is set.
 * Opening compiles kernels, which takes seconds the first time: do it, and infer, off the main thread. All methods may be called
 * from any thread; one at a time is served. Failures are {@link MobiproxException}s that say why; wrong arguments are {@link
 * IllegalArgumentException}s, and a closed session gives an {@link IllegalStateException}.
 */
public final class Mobiprox implements AutoCloseable {
    private long session;
    private final Info info;
    private final List<String> classes;
    private final List<Level> levels;
    private final ByteBuffer[] inputs;
    private final ByteBuffer[] outputs;
    private final double[] seen = new double[4];
    private String strategy;
    private Listener listener;
    private Sensors sensors = new Sensors();

    /** Opens the bundle that is the folder of this name among the app's assets. */
    @NonNull
    public static Mobiprox open(@NonNull Context context, @NonNull String asset) {
        return open(context, asset, new Options());
    }

    @NonNull
    public static Mobiprox open(@NonNull Context context, @NonNull String asset, @NonNull Options options) {
        File cache = options.cacheFolder != null ? options.cacheFolder : Assets.cacheFolder(context);
        return new Mobiprox(Assets.unpacked(context, asset), options, cache);
    }

    /** Opens the bundle in a folder, such as one that was downloaded. */
    @NonNull
    public static Mobiprox open(@NonNull File folder, @NonNull Options options) {
        return new Mobiprox(folder, options, options.cacheFolder);
    }

    private Mobiprox(File folder, Options options, @Nullable File cache) {
        session = Native.open(
                utf8(folder.getPath()),
                utf8(options.device),
                utf8(options.library),
                utf8(cache == null ? null : cache.getPath()),
                options.threads,
                options.noStrategy,
                options.copyMemory);
        boolean whole = false;
        try {
            double[] numbers = Native.numbers(session);
            info = new Info(texts(Native.texts(session)), numbers);
            strategy = info.getStrategy();
            classes = Collections.unmodifiableList(Arrays.asList(texts(Native.classes(session))));
            List<Level> all = new ArrayList<>();
            for (int i = 0; i < (int) numbers[4]; i++) {
                double[] level = Native.levelInfo(session, i);
                all.add(new Level(i, level[0], level[1], level[2]));
            }
            levels = Collections.unmodifiableList(all);
            inputs = buffers(false, (int) numbers[5]);
            outputs = buffers(true, (int) numbers[6]);
            whole = true;
        } finally {
            if (!whole) close();
        }
    }

    private ByteBuffer[] buffers(boolean output, int count) {
        ByteBuffer[] buffers = new ByteBuffer[count];
        for (int i = 0; i < count; i++) {
            int elements = 1;
            for (int size : Native.shape(session, output, i)) elements *= size;
            buffers[i] = ByteBuffer.allocateDirect(4 * elements).order(ByteOrder.nativeOrder());
        }
        return buffers;
    }

    /** Gives the device's memory back. Closing twice is allowed. */
    @Override
    public synchronized void close() {
        long open = session;
        session = 0;
        if (open != 0) Native.close(open);
    }

    // ------------------------------------------------------------------------------------------------------------------ inference

    /**
     * One inference at the present level, after which the strategy chooses the next one. values: one array per input of the network,
     * dense, batch axis first. Needs a network with one score per class and a batch of 1; see {@link #run} for others.
     */
    @NonNull
    public synchronized Prediction infer(@NonNull float[]... values) {
        return answer(filled(values));
    }

    /** The same on direct buffers in native byte order, which are read in place, from their beginning. */
    @NonNull
    public synchronized Prediction infer(@NonNull ByteBuffer... values) {
        return answer(checked(values));
    }

    /** One batch of any network at the present level; no strategy is asked. The scores are in {@link #outputs}. */
    public synchronized void run(@NonNull float[]... values) {
        Native.infer(session, filled(values), outputs, null);
    }

    public synchronized void run(@NonNull ByteBuffer... values) {
        Native.infer(session, checked(values), outputs, null);
    }

    /** What the last inference left in an output, dense, batch axis first. */
    @NonNull
    public synchronized float[] outputs(int index) {
        if (index < 0 || index >= outputs.length) throw new IllegalArgumentException("there is no output " + index);
        float[] values = new float[outputs[index].capacity() / 4];
        outputs[index].asFloatBuffer().get(values);
        return values;
    }

    private Prediction answer(ByteBuffer[] values) {
        double latencyMs = 0;
        boolean again;
        do {
            Native.infer(session, values, outputs, seen);
            latencyMs += seen[3];
            again = strategy != null && observe();
        } while (again);
        int label = (int) seen[0];
        Prediction prediction = new Prediction(label, classes.get(label), seen[2], (int) seen[1], latencyMs);
        if (listener != null) listener.onInference(prediction, Native.level(session));
        return prediction;
    }

    private boolean observe() {
        double[] known = {sensors.battery, sensors.charging, sensors.temperatureC, sensors.deadlineMs, sensors.hour};
        return Native.observe(session, known, utf8(sensors.purpose));
    }

    private ByteBuffer[] filled(float[][] values) {
        if (values.length != inputs.length)
            throw new IllegalArgumentException("the network has " + inputs.length + " inputs, not " + values.length);
        for (int i = 0; i < values.length; i++) {
            int wanted = inputs[i].capacity() / 4;
            if (values[i].length != wanted)
                throw new IllegalArgumentException("input " + i + " has " + wanted + " numbers, not " + values[i].length);
            inputs[i].asFloatBuffer().put(values[i]);
        }
        return inputs;
    }

    private static ByteBuffer[] checked(ByteBuffer[] values) {
        for (ByteBuffer value : values)
            if (value.order() != ByteOrder.nativeOrder())
                throw new IllegalArgumentException("the buffer is not in native byte order; use .order(ByteOrder.nativeOrder())");
        return values;
    }

    // --------------------------------------------------------------------------------------------------------- levels, strategies

    /** The level of the next inference; 0 is the exact network. */
    public synchronized int getLevel() {
        if (session == 0) throw new IllegalStateException("it is closed");
        return Native.level(session);
    }

    /** Costs nanoseconds: nothing is compiled, allocated or copied. A strategy goes on from its own level after the next inference. */
    public synchronized void setLevel(int level) {
        Native.setLevel(session, level);
    }

    /** All levels, the exact one first, then ever cheaper. */
    @NonNull
    public List<Level> getLevels() {
        return levels;
    }

    /** The name of the strategy at work; null where levels are set by hand. */
    @Nullable
    public synchronized String getStrategy() {
        return strategy;
    }

    /** Begins anew with another strategy and its default options; null: levels are set by hand. */
    public void setStrategy(@Nullable String name) {
        setStrategy(name, null);
    }

    /** options: a JSON object. */
    public synchronized void setStrategy(@Nullable String name, @Nullable String options) {
        Native.setStrategy(session, utf8(name), utf8(options));
        strategy = name;
    }

    /** What strategies may know from now on. */
    public synchronized void setSensors(@NonNull Sensors sensors) {
        this.sensors = sensors;
    }

    /** Is told of every inference; null: nobody is. */
    public synchronized void setListener(@Nullable Listener listener) {
        this.listener = listener;
    }

    // ---------------------------------------------------------------------------------------------------------------------- asking

    @NonNull
    public Info getInfo() {
        return info;
    }

    /** Names in the order of labels; each is null where the bundle has no names. */
    @NonNull
    public List<String> getClasses() {
        return classes;
    }

    public int getInputCount() {
        return inputs.length;
    }

    public int getOutputCount() {
        return outputs.length;
    }

    /** The shape of an input, batch axis first. */
    @NonNull
    public synchronized int[] inputShape(int index) {
        return Native.shape(session, false, index);
    }

    @NonNull
    public synchronized int[] outputShape(int index) {
        return Native.shape(session, true, index);
    }

    private static byte[] utf8(@Nullable String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    private static String[] texts(byte[][] all) {
        String[] texts = new String[all.length];
        for (int i = 0; i < all.length; i++) texts[i] = all[i] == null ? null : new String(all[i], StandardCharsets.UTF_8);
        return texts;
    }
}
