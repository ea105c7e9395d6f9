/*
 * org.mobiprox.Native: the C API as static methods. Texts cross as bytes in UTF-8, because JNI's own spelling of texts is not UTF-8;
 * tensors cross as direct buffers, which the runtime reads and writes in place. A failure is an exception with the runtime's reason.
 */
#include <jni.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mobiprox.h"

static struct {
    jclass failure, argument, state, memory, bytes, text;
    jmethodID text_of_bytes;
    jstring utf8;
} java;

/* ----------------------------------------------------------------------------------------------------------------------- exceptions */

/* NULL, with OutOfMemoryError pending, where there is no memory. */
static jbyteArray bytes_of(JNIEnv *env, const char *text) {
    jsize length = (jsize)strlen(text);
    jbyteArray bytes = (*env)->NewByteArray(env, length);
    if (bytes) (*env)->SetByteArrayRegion(env, bytes, 0, length, (const jbyte *)text);
    return bytes;
}

static void throw(JNIEnv *env, jclass type, const char *reason) {
    jbyteArray bytes = bytes_of(env, reason);
    jobject text = bytes ? (*env)->NewObject(env, java.text, java.text_of_bytes, bytes, java.utf8) : NULL;
    jmethodID make = text ? (*env)->GetMethodID(env, type, "<init>", "(Ljava/lang/String;)V") : NULL;
    jobject thrown = make ? (*env)->NewObject(env, type, make, text) : NULL;
    if (thrown) (*env)->Throw(env, (jthrowable)thrown);
}

static mbx_session *session_of(JNIEnv *env, jlong handle) {
    if (!handle) throw(env, java.state, "it is closed");
    return (mbx_session *)(intptr_t)handle;
}

/* ------------------------------------------------------------------------------------------------------------------- texts, numbers */

/* A copy that ends in zero; *failed: with an exception pending. NULL for null. */
static char *text_of(JNIEnv *env, jbyteArray bytes, int *failed) {
    if (!bytes || *failed) return NULL;
    jsize length = (*env)->GetArrayLength(env, bytes);
    char *text = malloc((size_t)length + 1);
    if (!text) {
        *failed = 1;
        throw(env, java.memory, "no memory for a text");
        return NULL;
    }
    (*env)->GetByteArrayRegion(env, bytes, 0, length, (jbyte *)text);
    text[length] = 0;
    if (strlen(text) == (size_t)length) return text;
    free(text);
    *failed = 1;
    throw(env, java.argument, "a text has a zero character in it");
    return NULL;
}

/* byte[][]; null for NULL. */
static jobjectArray texts(JNIEnv *env, const char *const *from, int count) {
    jobjectArray all = (*env)->NewObjectArray(env, count, java.bytes, NULL);
    for (int i = 0; all && i < count; i++) {
        jbyteArray one = from[i] ? bytes_of(env, from[i]) : NULL;
        if (from[i] && !one) return NULL;
        (*env)->SetObjectArrayElement(env, all, i, one);
        (*env)->DeleteLocalRef(env, one);
    }
    return all;
}

static jdoubleArray numbers(JNIEnv *env, const double *from, int count) {
    jdoubleArray all = (*env)->NewDoubleArray(env, count);
    if (all) (*env)->SetDoubleArrayRegion(env, all, 0, count, from);
    return all;
}

/* -------------------------------------------------------------------------------------------------------------------- opening, asking */

static jlong native_open(JNIEnv *env, jclass type, jbyteArray folder, jbyteArray device, jbyteArray library, jbyteArray cache, jint threads,
                         jboolean no_strategy, jboolean copy_memory) {
    int failed = 0;
    (void)type;
    char *folder_text = text_of(env, folder, &failed), *device_text = text_of(env, device, &failed);
    char *library_text = text_of(env, library, &failed), *cache_text = text_of(env, cache, &failed);
    mbx_session *session = NULL;
    if (!failed) {
        mbx_options options = {.device = device_text, .library = library_text, .cache_folder = cache_text, .threads = threads,
                               .no_strategy = no_strategy, .copy_memory = copy_memory};
        session = mbx_open(folder_text, &options);
        if (!session) throw(env, java.failure, mbx_last_error(NULL));
    }
    free(folder_text);
    free(device_text);
    free(library_text);
    free(cache_text);
    return (jlong)(intptr_t)session;
}

static void native_close(JNIEnv *env, jclass type, jlong handle) {
    (void)env, (void)type;
    mbx_close((mbx_session *)(intptr_t)handle);
}

static jobjectArray native_texts(JNIEnv *env, jclass type, jlong handle) {
    const mbx_session *session = session_of(env, handle);
    (void)type;
    if (!session) return NULL;
    const mbx_info *info = mbx_get_info(session);
    const char *all[] = {info->name, info->device, info->driver, info->runtime, info->library, info->kind, info->isa, info->launch, info->strategy};
    return texts(env, all, (int)(sizeof all / sizeof *all));
}

static jdoubleArray native_numbers(JNIEnv *env, jclass type, jlong handle) {
    const mbx_session *session = session_of(env, handle);
    (void)type;
    if (!session) return NULL;
    const mbx_info *info = mbx_get_info(session);
    const double all[] = {info->threads, info->shared_memory, info->cached_program, info->batch,  info->levels,
                          info->inputs,  info->outputs,       (double)info->arena_bytes, info->open_ms};
    return numbers(env, all, (int)(sizeof all / sizeof *all));
}

/* Name of the class, else null, for each label. */
static jobjectArray native_classes(JNIEnv *env, jclass type, jlong handle) {
    const mbx_session *session = session_of(env, handle);
    (void)type;
    if (!session) return NULL;
    int count = mbx_get_info(session)->classes;
    const char **names = calloc((size_t)count + 1, sizeof *names);
    if (!names) {
        throw(env, java.memory, "no memory for names of classes");
        return NULL;
    }
    for (int i = 0; i < count; i++) names[i] = mbx_class_name(session, i);
    jobjectArray all = texts(env, names, count);
    free(names);
    return all;
}

static jdoubleArray native_level_info(JNIEnv *env, jclass type, jlong handle, jint level) {
    const mbx_session *session = session_of(env, handle);
    const mbx_level_info *info = session ? mbx_level(session, level) : NULL;
    (void)type;
    if (session && !info) throw(env, java.argument, "there is no such level");
    if (!info) return NULL;
    const double all[] = {info->qos_loss, info->latency_ms, info->energy_mj};
    return numbers(env, all, 3);
}

static jintArray native_shape(JNIEnv *env, jclass type, jlong handle, jboolean is_output, jint index) {
    const mbx_session *session = session_of(env, handle);
    (void)type;
    if (!session) return NULL;
    const mbx_tensor *tensor = is_output ? mbx_output(session, index) : mbx_input(session, index);
    if (!tensor) {
        throw(env, java.argument, "there is no such input or output");
        return NULL;
    }
    jintArray shape = (*env)->NewIntArray(env, tensor->rank);
    if (shape) (*env)->SetIntArrayRegion(env, shape, 0, tensor->rank, (const jint *)tensor->shape);
    return shape;
}

/* ------------------------------------------------------------------------------------------------------------------------- running */

/* The floats of buffer i, or NULL with an exception. */
static float *floats_of(JNIEnv *env, jobjectArray buffers, int i, const mbx_tensor *tensor) {
    char reason[256];
    jobject buffer = (*env)->GetObjectArrayElement(env, buffers, i);
    float *floats = buffer ? (*env)->GetDirectBufferAddress(env, buffer) : NULL;
    jlong bytes = floats ? (*env)->GetDirectBufferCapacity(env, buffer) : 0;
    (*env)->DeleteLocalRef(env, buffer);
    if (!floats) {
        (void)snprintf(reason, sizeof reason, "the buffer of '%.80s' is not a direct one; use ByteBuffer.allocateDirect", tensor->name);
    } else if (bytes != 4 * tensor->elements) {
        (void)snprintf(reason, sizeof reason, "the buffer of '%.80s' has %lld bytes; wanted are %lld", tensor->name, (long long)bytes,
                       (long long)(4 * tensor->elements));
    } else if ((uintptr_t)floats % sizeof(float)) {
        (void)snprintf(reason, sizeof reason, "the buffer of '%.80s' is not aligned to 4 bytes", tensor->name);
    } else {
        return floats;
    }
    throw(env, java.argument, reason);
    return NULL;
}

enum { MOST_TENSORS = 64 };

static int is_count(JNIEnv *env, jobjectArray buffers, int wanted, const char *what) {
    char reason[128];
    if (buffers && (*env)->GetArrayLength(env, buffers) == wanted && wanted <= MOST_TENSORS) return 1;
    (void)snprintf(reason, sizeof reason, "the network has %d %s (at most %d can be given)", wanted, what, MOST_TENSORS);
    throw(env, java.argument, reason);
    return 0;
}

/* prediction: double[4] for label, level, confidence and milliseconds, or null. */
static void native_infer(JNIEnv *env, jclass type, jlong handle, jobjectArray inputs, jobjectArray outputs, jdoubleArray prediction) {
    mbx_session *session = session_of(env, handle);
    float *in[MOST_TENSORS], *out[MOST_TENSORS];
    mbx_prediction seen;
    (void)type;
    if (!session) return;
    const mbx_info *info = mbx_get_info(session);
    if (!is_count(env, inputs, info->inputs, "inputs") || !is_count(env, outputs, info->outputs, "outputs")) return;
    for (int i = 0; i < info->inputs; i++)
        if (!(in[i] = floats_of(env, inputs, i, mbx_input(session, i)))) return;
    for (int i = 0; i < info->outputs; i++)
        if (!(out[i] = floats_of(env, outputs, i, mbx_output(session, i)))) return;
    if (mbx_infer(session, (const float *const *)in, out, prediction ? &seen : NULL)) {
        throw(env, java.failure, mbx_last_error(session));
    } else if (prediction) {
        const double all[] = {seen.label, seen.level, seen.confidence, seen.latency_ms};
        (*env)->SetDoubleArrayRegion(env, prediction, 0, 4, all);
    }
}

static void native_set_level(JNIEnv *env, jclass type, jlong handle, jint level) {
    mbx_session *session = session_of(env, handle);
    (void)type;
    if (session && mbx_set_level(session, level)) throw(env, java.argument, mbx_last_error(session));
}

static jint native_level(JNIEnv *env, jclass type, jlong handle) {
    const mbx_session *session = session_of(env, handle);
    (void)type;
    return session ? mbx_get_level(session) : -1;
}

/* sensors: battery, charging (-1: unknown), temperature, deadline, hour. Whether the same input is to be run again. */
static jboolean native_observe(JNIEnv *env, jclass type, jlong handle, jdoubleArray sensors, jbyteArray purpose) {
    mbx_session *session = session_of(env, handle);
    int failed = 0, rerun = 0;
    double known[5];
    (void)type;
    if (!session) return JNI_FALSE;
    (*env)->GetDoubleArrayRegion(env, sensors, 0, 5, known);
    if ((*env)->ExceptionCheck(env)) return JNI_FALSE;
    char *purpose_text = text_of(env, purpose, &failed);
    if (failed) return JNI_FALSE;
    mbx_sensors seen = {.battery = known[0], .charging = (int)known[1], .temperature_c = known[2], .deadline_ms = known[3], .hour = known[4],
                        .purpose = purpose_text};
    if (mbx_observe(session, &seen, &rerun) < 0) throw(env, java.failure, mbx_last_error(session));
    free(purpose_text);
    return rerun != 0;
}

/* name: null for none. options: JSON, or null. */
static void native_set_strategy(JNIEnv *env, jclass type, jlong handle, jbyteArray name, jbyteArray options) {
    mbx_session *session = session_of(env, handle);
    int failed = 0;
    (void)type;
    if (!session) return;
    char *name_text = text_of(env, name, &failed), *options_text = text_of(env, options, &failed);
    if (!failed && mbx_set_strategy(session, name_text, options_text)) throw(env, java.argument, mbx_last_error(session));
    free(name_text);
    free(options_text);
}

/* ------------------------------------------------------------------------------------------------------------------------- loading */

#define METHOD(name, signature, function) {(char *)name, (char *)signature, (void *)(intptr_t)function}

static const JNINativeMethod METHODS[] = {
    METHOD("open", "([B[B[B[BIZZ)J", native_open),
    METHOD("close", "(J)V", native_close),
    METHOD("texts", "(J)[[B", native_texts),
    METHOD("numbers", "(J)[D", native_numbers),
    METHOD("classes", "(J)[[B", native_classes),
    METHOD("levelInfo", "(JI)[D", native_level_info),
    METHOD("shape", "(JZI)[I", native_shape),
    METHOD("infer", "(J[Ljava/nio/ByteBuffer;[Ljava/nio/ByteBuffer;[D)V", native_infer),
    METHOD("setLevel", "(JI)V", native_set_level),
    METHOD("level", "(J)I", native_level),
    METHOD("observe", "(J[D[B)Z", native_observe),
    METHOD("setStrategy", "(J[B[B)V", native_set_strategy),
};

static jclass keep(JNIEnv *env, const char *name) {
    jclass local = (*env)->FindClass(env, name);
    return local ? (jclass)(*env)->NewGlobalRef(env, local) : NULL;
}

JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *machine, void *reserved) {
    JNIEnv *env = NULL;
    (void)reserved;
    if ((*machine)->GetEnv(machine, (void **)&env, JNI_VERSION_1_6) != JNI_OK) return JNI_ERR;
    java.failure = keep(env, "org/mobiprox/MobiproxException");
    java.argument = java.failure ? keep(env, "java/lang/IllegalArgumentException") : NULL;
    java.state = java.argument ? keep(env, "java/lang/IllegalStateException") : NULL;
    java.memory = java.state ? keep(env, "java/lang/OutOfMemoryError") : NULL;
    java.bytes = java.memory ? keep(env, "[B") : NULL;
    java.text = java.bytes ? keep(env, "java/lang/String") : NULL;
    java.text_of_bytes = java.text ? (*env)->GetMethodID(env, java.text, "<init>", "([BLjava/lang/String;)V") : NULL;
    jstring utf8 = java.text_of_bytes ? (*env)->NewStringUTF(env, "UTF-8") : NULL;
    java.utf8 = utf8 ? (jstring)(*env)->NewGlobalRef(env, utf8) : NULL;
    jclass type = java.utf8 ? (*env)->FindClass(env, "org/mobiprox/Native") : NULL;
    if (!type || (*env)->RegisterNatives(env, type, METHODS, (jint)(sizeof METHODS / sizeof *METHODS))) return JNI_ERR;
    return JNI_VERSION_1_6;
}

JNIEXPORT void JNICALL JNI_OnUnload(JavaVM *machine, void *reserved) {
    JNIEnv *env = NULL;
    (void)reserved;
    if ((*machine)->GetEnv(machine, (void **)&env, JNI_VERSION_1_6) != JNI_OK) return;
    jobject kept[] = {java.failure, java.argument, java.state, java.memory, java.bytes, java.text, java.utf8};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) (*env)->DeleteGlobalRef(env, kept[i]);
}
