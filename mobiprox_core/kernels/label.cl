// What a classifier is asked for. Unit: one image. Writes its label (the first of the largest scores, or the first that is no number),
// the softmax of that score at a temperature, and all scores, one after another, so that one read fetches everything.
// descriptor: 0 scores, 1-4 their image, block, row and column strides, 5 channels stored together, 6-8 channels, rows, columns,
//   9 destination float[images][2 + scores], 10 temperature, 11 1 if the scores are probabilities: their logarithms count
#define LOGIT(x) (probabilities ? log((x) > 1.17549435e-38f ? (x) : 1.17549435e-38f) : (x))

UNIT void label(global uchar *arena, global const int *descriptor, int unit) {
    global const float *from = FLOATS(descriptor[0] + unit * descriptor[1]);
    int block = descriptor[5], channels = descriptor[6], rows = descriptor[7], columns = descriptor[8];
    int probabilities = descriptor[11], count = channels * rows * columns, best = 0, i = 0;
    global float *answer = FLOATS(descriptor[9] + unit * (2 + count)), *scores = answer + 2;
    for (int first = 0; first < channels; first += block, from += descriptor[2])
        for (int c = 0; c < block && first + c < channels; c++)
            for (int h = 0; h < rows; h++)
                for (int w = 0; w < columns; w++, i++) {
                    scores[i] = from[c + h * descriptor[3] + w * descriptor[4]];
                    if (scores[best] == scores[best] && !(scores[i] <= scores[best])) best = i;
                }
    float top = LOGIT(scores[best]), sum = 0.0f;
    for (i = 0; i < count; i++) {
        float below = (LOGIT(scores[i]) - top) / BITS(10);
        sum += below < -87.0f ? 0.0f : exp_scalar(below);
    }
    answer[0] = best;
    answer[1] = scores[best] == scores[best] ? 1.0f / sum : scores[best];
}
