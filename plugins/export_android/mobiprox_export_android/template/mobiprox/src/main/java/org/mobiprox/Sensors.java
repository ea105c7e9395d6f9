package org.mobiprox;

import androidx.annotation.NonNull;
import androidx.annotation.Nullable;

/** What the phone and the app know of themselves, for strategies that ask. What is not set is unknown. */
public final class Sensors {
    double battery = Double.NaN;
    int charging = -1;
    double temperatureC = Double.NaN;
    double deadlineMs = Double.NaN;
    double hour = Double.NaN;
    String purpose;

    /** 0 to 1. */
    @NonNull
    public Sensors battery(double share) {
        this.battery = share;
        return this;
    }

    @NonNull
    public Sensors charging(boolean charging) {
        this.charging = charging ? 1 : 0;
        return this;
    }

    @NonNull
    public Sensors temperatureC(double degrees) {
        this.temperatureC = degrees;
        return this;
    }

    /** Time until the answer is due. */
    @NonNull
    public Sensors deadlineMs(double milliseconds) {
        this.deadlineMs = milliseconds;
        return this;
    }

    /** From 0 to below 24, local time. */
    @NonNull
    public Sensors hour(double hour) {
        this.hour = hour;
        return this;
    }

    /** What the app is doing, in its own words. */
    @NonNull
    public Sensors purpose(@Nullable String purpose) {
        this.purpose = purpose;
        return this;
    }
}
