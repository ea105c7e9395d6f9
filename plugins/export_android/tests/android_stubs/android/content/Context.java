package android.content;

import android.content.res.AssetManager;
import java.io.File;

/** An app whose assets and data are folders of this machine. */
public class Context {
    private final File assets;
    private final File data;

    public Context(File assets, File data) {
        this.assets = assets;
        this.data = data;
    }

    public AssetManager getAssets() {
        return new AssetManager(assets);
    }

    public File getNoBackupFilesDir() {
        return made("no_backup");
    }

    public File getCodeCacheDir() {
        return made("code_cache");
    }

    public Context getApplicationContext() {
        return this;
    }

    private File made(String name) {
        File folder = new File(data, name);
        folder.mkdirs();
        return folder;
    }
}
