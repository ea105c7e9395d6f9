package org.mobiprox.sample;

import android.content.Context;

/** Lets the test see the sample's report. */
public final class Sample {
    public static String report(Context context) {
        return MainActivity.report(context);
    }
}
