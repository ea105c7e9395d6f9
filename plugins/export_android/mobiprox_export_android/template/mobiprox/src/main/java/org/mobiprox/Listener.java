package org.mobiprox;

import androidx.annotation.NonNull;

/** Is told of every inference, by the thread that made it. */
public interface Listener {
    /** nextLevel: the one that the strategy chose for the next inference. */
    void onInference(@NonNull Prediction prediction, int nextLevel);
}
