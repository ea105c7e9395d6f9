package org.mobiprox;

/** Why a bundle cannot be opened or run, in the words of the runtime. */
public final class MobiproxException extends RuntimeException {
    public MobiproxException(String reason) {
        super(reason);
    }

    MobiproxException(String reason, Throwable cause) {
        super(reason, cause);
    }
}
