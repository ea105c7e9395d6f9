import android.content.Context;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.mobiprox.Level;
import org.mobiprox.MobiproxException;
import org.mobiprox.Mobiprox;
import org.mobiprox.Options;
import org.mobiprox.Prediction;
import org.mobiprox.Sensors;
import org.mobiprox.sample.Sample;

/** Check ASSETS DATA INPUTS OUTPUTS: uses the library as an app would, and prints what it sees, one fact a line. */
public final class Check {
    public static void main(String[] arguments) throws Exception {
        Context context = new Context(new File(arguments[0]), new File(arguments[1]));
        float[][] x = inputs(new File(arguments[2]));
        try (Mobiprox network = Mobiprox.open(context, "bundle", new Options().withoutStrategy())) {
            about(network);
            levels(network, x, new File(arguments[3]));
            refusals(network, x);
            threads(network, x);
        }
        Mobiprox closed = Mobiprox.open(context, "bundle");
        adapt(closed, x);
        fact("cached", closed.getInfo().isProgramCached());
        closed.close();
        closed.close();
        refused("closed", () -> closed.infer(x[0]));
        refused("closed level", () -> closed.setLevel(0));
        refused("closed getter", closed::getLevel);
        refused("missing asset", () -> Mobiprox.open(context, "nothing"));
        refused("missing folder", () -> Mobiprox.open(new File("/nowhere/\u00e9\ud83d\ude00"), new Options()));
        refused("no library", () -> Mobiprox.open(context, "bundle", new Options().library("/nowhere/libOpenCL.so")));
        refused("zero in a text", () -> Mobiprox.open(context, "bundle", new Options().device("a\u0000b")));
        fact("versions", new File(arguments[1], "no_backup/mobiprox/bundle").list().length);
        File plan = new File(arguments[0], "bundle/bundle.json");
        Files.write(plan.toPath(), (new String(Files.readAllBytes(plan.toPath()), "UTF-8") + "\n").getBytes("UTF-8"));
        Mobiprox.open(context, "bundle").close();
        fact("versions after an update", new File(arguments[1], "no_backup/mobiprox/bundle").list().length);
        fact("sample", Sample.report(context).replace('\n', '|'));
        fact("end", true);
    }

    private static float[][] inputs(File file) throws IOException {
        ByteBuffer all = ByteBuffer.wrap(Files.readAllBytes(file.toPath())).order(ByteOrder.LITTLE_ENDIAN);
        int count = all.getInt();
        FloatBuffer floats = all.slice().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[][] x = new float[count][floats.remaining() / count];
        for (float[] one : x) floats.get(one);
        return x;
    }

    private static void fact(String name, Object value) {
        System.out.println(name + "\t" + value);
    }

    private static void refused(String name, Runnable action) {
        try {
            action.run();
            fact(name, "was not refused");
        } catch (RuntimeException error) {
            fact(name, error.getClass().getSimpleName() + ": " + error.getMessage());
        }
    }

    private static void about(Mobiprox network) {
        fact("name", network.getInfo().getName());
        fact("device", network.getInfo().getDevice());
        fact("classes", String.join("|", network.getClasses()));
        List<String> points = new ArrayList<>();
        for (Level level : network.getLevels()) points.add(level.getIndex() + " " + level.getLatencyMs() + " " + level.getEnergyMj());
        fact("levels", String.join("|", points));
    }

    /** Every input at every level: as an array, in a direct buffer, and without prediction. */
    private static void levels(Mobiprox network, float[][] x, File outputs) throws IOException {
        ByteBuffer direct = ByteBuffer.allocateDirect(4 * x[0].length).order(ByteOrder.nativeOrder());
        boolean same = true;
        try (DataOutputStream file = new DataOutputStream(new FileOutputStream(outputs))) {
            for (int level = 0; level < network.getLevels().size(); level++) {
                for (float[] one : x) {
                    network.setLevel(level);
                    Prediction first = network.infer(one);
                    float[] scores = network.outputs(0);
                    direct.asFloatBuffer().put(one);
                    Prediction second = network.infer(direct);
                    same &= first.getLabel() == second.getLabel() && first.getConfidence() == second.getConfidence() && first.getLevel() == level;
                    same &= java.util.Arrays.equals(scores, network.outputs(0));
                    network.run(direct);
                    same &= java.util.Arrays.equals(scores, network.outputs(0));
                    for (float score : scores) file.writeFloat(score);
                }
            }
        }
        fact("arrays and buffers agree", same);
    }

    private static void refusals(Mobiprox network, float[][] x) {
        refused("level", () -> network.setLevel(99));
        refused("size", () -> network.infer(new float[3]));
        refused("inputs", () -> network.infer(x[0], x[0]));
        refused("null", () -> network.infer((float[]) null));
        refused("null buffers", () -> network.infer((ByteBuffer[]) null));
        refused("heap", () -> network.infer(ByteBuffer.allocate(4 * x[0].length).order(ByteOrder.nativeOrder())));
        refused("short", () -> network.infer(ByteBuffer.allocateDirect(8).order(ByteOrder.nativeOrder())));
        refused("order", () -> network.infer(ByteBuffer.allocateDirect(4 * x[0].length)));
        ByteBuffer room = ByteBuffer.allocateDirect(4 * x[0].length + 1).order(ByteOrder.nativeOrder());
        room.position(1);
        refused("alignment", () -> network.infer(room.slice().order(ByteOrder.nativeOrder())));
        refused("output", () -> network.outputs(5));
        refused("shape", () -> network.inputShape(5));
        refused("strategy", () -> network.setStrategy("unheard"));
        refused("strategy options", () -> network.setStrategy("state", "{\"memory\": -3}"));
        fact("strategy after refusals", network.getStrategy());
        fact("still runs", network.infer(x[0]).getLevel() >= 0);
    }

    /** Many threads, collections of garbage and null pointers while the runtime's handlers are installed. */
    private static void threads(Mobiprox network, float[][] x) throws InterruptedException {
        AtomicInteger right = new AtomicInteger();
        network.setLevel(0);
        int label = network.infer(x[0]).getLabel();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            threads.add(new Thread(() -> {
                for (int k = 0; k < 20; k++) if (network.infer(x[0]).getLabel() == label) right.incrementAndGet();
            }));
        }
        for (Thread thread : threads) thread.start();
        int caught = 0;
        for (int i = 0; i < 1000; i++) {
            Object nothing = i % 2 == 0 ? null : "text";
            try {
                nothing.hashCode();
            } catch (NullPointerException error) {
                caught++;
            }
            if (i % 250 == 0) System.gc();
        }
        for (Thread thread : threads) thread.join();
        fact("threads", right.get() + " " + caught);
    }

    private static void adapt(Mobiprox network, float[][] x) {
        StringBuilder walked = new StringBuilder();
        StringBuilder told = new StringBuilder();
        network.setSensors(new Sensors().battery(0.5).charging(false).temperatureC(30).deadlineMs(100).hour(13.5).purpose("a test"));
        network.setListener((prediction, next) -> told.append(prediction.getLevel()).append('>').append(next).append(' '));
        for (String strategy : new String[] {"state", "naive", "confidence"}) {
            network.setStrategy(strategy, strategy.equals("confidence") ? "{\"increase\": \"exponential\"}" : null);
            walked.setLength(0);
            told.setLength(0);
            network.setLevel(0);
            for (float[] one : x) {
                Prediction seen = network.infer(one);
                walked.append(seen.getLevel()).append(' ').append(seen.getLabel()).append(' ');
            }
            fact("walk " + strategy, walked);
            fact("told " + strategy, told);
        }
        network.setStrategy(null);
        network.setLevel(1);
        network.setListener(null);
        network.infer(x[0]);
        fact("by hand", network.getLevel());
    }
}
