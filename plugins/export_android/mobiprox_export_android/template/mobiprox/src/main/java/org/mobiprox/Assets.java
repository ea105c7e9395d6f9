package org.mobiprox;

import android.content.Context;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** Bundles among the assets. The runtime maps files into memory, so they are copied to the app's own folder, once per version. */
final class Assets {
    private static final String[] FILES = {"plan.json", "weights.safetensors", "kernels/program.cl", "bundle.json"};

    private Assets() {}

    static File cacheFolder(Context context) {
        File folder = new File(context.getCodeCacheDir(), "mobiprox");
        return folder.isDirectory() || folder.mkdirs() ? folder : null;
    }

    /** The folder that holds the files of the asset as they are now. What remains of other versions is removed. */
    static synchronized File unpacked(Context context, String asset) {
        File all = new File(context.getNoBackupFilesDir(), "mobiprox/" + asset);
        try {
            File wanted = new File(all, version(context, asset));
            if (wanted.isDirectory()) return wanted;
            remove(all);
            File part = new File(all, "part");
            for (String name : FILES) copy(context, asset + "/" + name, new File(part, name));
            if (!part.renameTo(wanted)) throw new IOException("cannot rename " + part);
            return wanted;
        } catch (IOException error) {
            String reason = "the asset '" + asset + "' is no bundle, or cannot be copied to " + all + ": " + error;
            throw new MobiproxException(reason, error);
        }
    }

    /** The digest of bundle.json, which holds the digests of all other files. */
    private static String version(Context context, String asset) throws IOException {
        try (InputStream in = context.getAssets().open(asset + "/bundle.json")) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            byte[] part = new byte[65536];
            for (int got = in.read(part); got >= 0; got = in.read(part)) digest.update(part, 0, got);
            StringBuilder text = new StringBuilder();
            for (byte value : digest.digest()) text.append(String.format("%02x", value));
            return text.toString();
        } catch (NoSuchAlgorithmException error) {
            throw new IOException(error);
        }
    }

    private static void copy(Context context, String asset, File to) throws IOException {
        File folder = to.getParentFile();
        if (folder != null && !folder.isDirectory() && !folder.mkdirs()) throw new IOException("cannot make " + folder);
        try (InputStream in = context.getAssets().open(asset);
                OutputStream out = new FileOutputStream(to)) {
            byte[] part = new byte[65536];
            for (int got = in.read(part); got >= 0; got = in.read(part)) out.write(part, 0, got);
        }
    }

    private static void remove(File file) throws IOException {
        File[] inside = file.listFiles();
        if (inside != null) for (File one : inside) remove(one);
        if (file.exists() && !file.delete()) throw new IOException("cannot remove " + file);
    }
}
