package org.mobiprox.sample;

import android.app.Activity;
import android.content.Context;
import android.os.Bundle;
import android.widget.TextView;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import org.mobiprox.Info;
import org.mobiprox.Level;
import org.mobiprox.Mobiprox;
import org.mobiprox.Options;

/** Opens the bundle, times its levels on this phone, and shows how the strategy walks over noise. */
public final class MainActivity extends Activity {
    private static final int WARM_UP = 5;
    private static final int RUNS = 31;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        TextView view = new TextView(this);
        view.setText("opening ...");
        setContentView(view);
        Context context = getApplicationContext();
        new Thread(() -> {
            String text = report(context);
            runOnUiThread(() -> view.setText(text));
        }).start();
    }

    static String report(Context context) {
        StringBuilder text = new StringBuilder();
        try (Mobiprox network = Mobiprox.open(context, "bundle", new Options())) {
            Info info = network.getInfo();
            text.append(String.format(Locale.ROOT, "%s on %s (%s)\n", info.getName(), info.getDevice(), info.getRuntime()));
            text.append(String.format(Locale.ROOT, "opened in %.0f ms\n\n", info.getOpenMs()));
            for (Level level : network.getLevels()) {
                network.setLevel(level.getIndex());
                text.append(String.format(Locale.ROOT, "%s: %.3f ms here\n", level, medianMs(network)));
            }
            if (network.getStrategy() != null) text.append("\n").append(network.getStrategy()).append(" walks:").append(walk(network));
        } catch (RuntimeException error) {
            text.append(error.getMessage());
        }
        return text.toString();
    }

    private static double medianMs(Mobiprox network) {
        float[][] x = noise(network, new Random(0));
        double[] times = new double[RUNS];
        for (int i = -WARM_UP; i < RUNS; i++) {
            long begin = System.nanoTime();
            network.run(x);
            if (i >= 0) times[i] = (System.nanoTime() - begin) / 1e6;
        }
        Arrays.sort(times);
        return times[RUNS / 2];
    }

    private static String walk(Mobiprox network) {
        StringBuilder levels = new StringBuilder();
        Random random = new Random(0);
        network.setLevel(0);
        for (int i = 0; i < 20; i++) levels.append(' ').append(network.infer(noise(network, random)).getLevel());
        return levels.toString();
    }

    private static float[][] noise(Mobiprox network, Random random) {
        float[][] x = new float[network.getInputCount()][];
        for (int i = 0; i < x.length; i++) {
            int elements = 1;
            for (int size : network.inputShape(i)) elements *= size;
            x[i] = new float[elements];
            for (int k = 0; k < elements; k++) x[i][k] = random.nextFloat();
        }
        return x;
    }
}
